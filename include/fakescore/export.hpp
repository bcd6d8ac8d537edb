#pragma once

/// Marks what libfakescore.so exports; everything else in it is hidden.
#define FAKESCORE_API __attribute__((visibility("default")))
