fakescore_add_world_test(communicator_test SOURCES world/communicator_test.cpp)
fakescore_add_world_test(sync_module_states_test SOURCES world/sync_module_states_test.cpp)
fakescore_add_world_test(fake_score_meta_test SOURCES world/fake_score_meta_test.cpp
                                                     world/fake_score_values_test.cpp)
