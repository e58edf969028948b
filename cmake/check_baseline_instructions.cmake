# Fails where an object of OBJECTS has an instruction that some x86-64 CPU lacks: the vector instructions since AVX, whose
# names begin with v, those of SSE3 to SSE4.2, and the bit counts.
if(NOT OBJDUMP)
  return()
endif()
set(newer "v[a-z0-9]+|addsub[a-z]+|hadd[a-z]+|hsub[a-z]+|lddqu|mov(ddup|shdup|sldup|be)|p(shufb|abs[bwd]|align[a-z]|mulhrsw|hadd[a-z]+\
|hsub[a-z]+|sign[bwd]|blend[a-z]+|test|(min|max)(sb|sd|uw|ud)|muldq|mulld|mov[sz]x[a-z]+|extr[bdq]|insr[bdq]|cmp[a-z]str[a-z]|cmpeqq\
|cmpgtq|ackusdw)|round[sp][sd]|blend[a-z]+|dpp[sd]|insertps|extractps|mpsadbw|phminposuw|crc32[a-z]*|popcnt[a-z]*|lzcnt[a-z]*\
|andn|bextr|bls[a-z]+|bzhi|mulx|pdep|pext|rorx|sarx|shlx|shrx|adcx|adox|cmpxchg16b")
foreach(object IN LISTS OBJECTS)
  execute_process(COMMAND ${OBJDUMP} --disassemble --no-show-raw-insn ${object} OUTPUT_VARIABLE code COMMAND_ERROR_IS_FATAL ANY)
  if(code MATCHES "\n[^\n]*:[ \t]+(${newer})[ \t][^\n]*")
    message(FATAL_ERROR "${object} is for every CPU, but has an instruction that some lack:${CMAKE_MATCH_0}")
  endif()
endforeach()
