# Settings shared by every target of the project.

# Warnings, sanitizers and the unity mode of one target.
function(fakescore_configure_target target)
  target_compile_features(${target} PUBLIC cxx_std_20)
  set_target_properties(${target} PROPERTIES UNITY_BUILD_MODE GROUP)
  set_target_properties(${target} PROPERTIES CXX_EXTENSIONS OFF CXX_VISIBILITY_PRESET hidden
                                             VISIBILITY_INLINES_HIDDEN ON)
  target_compile_options(${target} PRIVATE -Wall -Wextra -Wno-unused-parameter -Wconversion
                         -Wsign-conversion -Wshadow -Woverloaded-virtual -Wnon-virtual-dtor)
  if(CMAKE_CXX_COMPILER_ID STREQUAL "GNU" AND CMAKE_CXX_COMPILER_VERSION VERSION_LESS 13)
    # False alarms on std::string concatenation: https://gcc.gnu.org/bugzilla/show_bug.cgi?id=105651
    target_compile_options(${target} PRIVATE -Wno-array-bounds -Wno-restrict
                           -Wno-stringop-overflow)
  endif()
  if(FAKESCORE_WERROR)
    target_compile_options(${target} PRIVATE -Werror)
  endif()
  if(FAKESCORE_SANITIZE)
    # vptr needs the typeinfo of LibTorch's classes, which its libraries do not export.
    target_compile_options(${target} PRIVATE -fsanitize=${FAKESCORE_SANITIZE}
      -fno-sanitize=vptr -fno-omit-frame-pointer -fno-sanitize-recover=all)
    target_link_options(${target} PRIVATE -fsanitize=${FAKESCORE_SANITIZE})
  endif()
endfunction()

# Sources of one folder that are compiled as one unit where CMAKE_UNITY_BUILD is on, as the presets
# have it: LibTorch's headers take most of a unit's time. fakescore_add_unit(target UNIT SOURCES...)
# Names in anonymous namespaces are then shared by the unit.
function(fakescore_add_unit target unit)
  set_source_files_properties(${ARGN} PROPERTIES UNITY_GROUP ${unit})
  target_sources(${target} PRIVATE ${ARGN})
endfunction()
