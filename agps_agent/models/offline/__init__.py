"""Being a model without a server: classical vision on the pixels it is sent, and plans from keypoints."""
