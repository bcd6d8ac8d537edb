# The Python whose torch the package is built for. An isolated build environment has no torch, or one
# of its own, which is not the one that the package will meet: both are refused here, with what to do.
#
# FAKESCORE_PYTHON   result

if(NOT FAKESCORE_PYTHON)
  set(FAKESCORE_PYTHON "${Python_EXECUTABLE}")  # scikit-build-core's
endif()
execute_process(
  COMMAND "${FAKESCORE_PYTHON}" -c
          "import importlib.util as u; print(u.find_spec('torch').submodule_search_locations[0])"
  OUTPUT_VARIABLE _fakescore_torch OUTPUT_STRIP_TRAILING_WHITESPACE
  RESULT_VARIABLE _fakescore_result ERROR_QUIET)
# The folders in which pip, uv and build make their environments.
set(_fakescore_isolated "/(pip-build-env-|build-env-|builds-v[0-9]+/)")
if(NOT _fakescore_result EQUAL 0 OR _fakescore_torch MATCHES "${_fakescore_isolated}")
  message(FATAL_ERROR
    "fakescore is built for the torch that is installed, and this build does not see it (torch: "
    "\"${_fakescore_torch}\"): it runs in an environment of its own. Install torch first, then run:\n"
    "  pip install scikit-build-core && pip install --no-build-isolation .\n")
endif()
find_package(nlohmann_json 3.11 QUIET)
if(NOT nlohmann_json_FOUND)
  message(FATAL_ERROR "nlohmann_json, a C++ library, is missing. Run:\n"
    "  sudo apt-get install nlohmann-json3-dev\n"
    "or:\n"
    "  conda install -c conda-forge nlohmann_json\n")
endif()
