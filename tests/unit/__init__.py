"""Nothing is real here: values in, values out, all within a few seconds."""
