fakescore_add_test(error_test SOURCES unit/error_test.cpp LABELS unit)
fakescore_add_test(safetensors_test SOURCES unit/safetensors_test.cpp LABELS unit)
