# A sanitised library cannot be loaded into a program that is not.
if(FAKESCORE_BUILD_TOOLS AND NOT FAKESCORE_SANITIZE)
  add_test(NAME install_test
           COMMAND ${PROJECT_SOURCE_DIR}/tests/install/run.sh ${PROJECT_BINARY_DIR}
                   ${PROJECT_SOURCE_DIR} ${PROJECT_VERSION})
  fakescore_test_properties(install_test install 600)
endif()
