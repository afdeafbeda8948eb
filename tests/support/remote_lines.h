/*
 * remote_lines.h - the lines that writers on other machines write: each is made of its channel, its
 * number and a seed alone, so that who reads a line can tell whether it is the right one.
 */
#pragma once

#include <stddef.h>
#include <stdint.h>

enum { REMOTE_LINE_MAX = 192 }; /* with its line feed and a NUL */

/* Line `number` of a channel; returns its length, which varies. */
size_t remote_line(char out[REMOTE_LINE_MAX], const char *channel, uint64_t seed, uint64_t number);
