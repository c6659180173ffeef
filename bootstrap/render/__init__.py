"""One pure function a file: Settings and Facts in, the content of a configuration file out."""
