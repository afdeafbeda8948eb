# Warnings, hardening and sanitizers, carried by the interface target coffer_flags.
add_library(coffer_flags INTERFACE)
target_compile_definitions(coffer_flags INTERFACE _GNU_SOURCE _FILE_OFFSET_BITS=64)
target_compile_options(coffer_flags INTERFACE
  -Wall -Wextra -Wpedantic -Wconversion -Wshadow -Wvla -Wundef -Wwrite-strings
  -Wstrict-prototypes -Wmissing-prototypes -Wcast-qual -Wformat=2 -Wnull-dereference -fno-common
  -Wno-gnu-zero-variadic-macro-arguments)
if(CMAKE_C_COMPILER_ID STREQUAL "GNU")
  target_compile_options(coffer_flags INTERFACE
    -Wduplicated-cond -Wduplicated-branches -Wlogical-op)
endif()
if(COFFER_WERROR)
  target_compile_options(coffer_flags INTERFACE -Werror)
endif()

if(COFFER_SANITIZE)
  target_compile_options(coffer_flags INTERFACE
    -fsanitize=${COFFER_SANITIZE} -fno-omit-frame-pointer -fno-sanitize-recover=all)
  target_link_options(coffer_flags INTERFACE -fsanitize=${COFFER_SANITIZE})
elseif(CMAKE_BUILD_TYPE MATCHES "Rel")
  target_compile_options(coffer_flags INTERFACE
    -U_FORTIFY_SOURCE -D_FORTIFY_SOURCE=3 -fstack-protector-strong -fstack-clash-protection
    -fcf-protection)
  target_link_options(coffer_flags INTERFACE -Wl,-z,relro,-z,now)
endif()
