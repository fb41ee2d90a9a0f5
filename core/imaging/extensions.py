"""How the names of image files end, in lower case. Only a first guess: what a file is, its bytes say."""

from __future__ import annotations

IMAGE_EXTENSIONS = (
    *(".jpg", ".jpeg", ".jpe", ".jfif", ".png", ".webp", ".gif", ".bmp", ".dib"),
    *(".tif", ".tiff", ".heic", ".heif", ".hif", ".avif"),
)
