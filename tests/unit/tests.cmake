fakescore_add_test(error_test SOURCES unit/error_test.cpp LABELS unit)
