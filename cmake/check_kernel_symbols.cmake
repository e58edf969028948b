# Fails unless every object of OBJECTS defines exactly one global symbol, and a strong one (type T).
foreach(object IN LISTS OBJECTS)
  execute_process(COMMAND ${NM} --defined-only --extern-only ${object} OUTPUT_VARIABLE symbols COMMAND_ERROR_IS_FATAL ANY)
  string(STRIP "${symbols}" symbols)
  if(NOT symbols MATCHES "^[0-9a-fA-F]+ T [^\n]+$")
    message(FATAL_ERROR "${object} must export one function and nothing else, but exports:\n${symbols}")
  endif()
endforeach()
