"""Where the keypoints of a task lie in a few reference images, as a person marked them."""
