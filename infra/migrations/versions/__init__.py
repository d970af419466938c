"""One file a change, read by eye after it is generated (`stoa revise "what it does"`)."""
