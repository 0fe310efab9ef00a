"""One run: configuration, wiring, training, its log and its directory; recordings on a robot."""
