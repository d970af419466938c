"""Files: buckets with trees of objects, files of apps, and the bytes of all of them."""
