"""Headers of image files, read without a decoder: one module for each container."""
