"""What algorithms share that learn from pixels: patches, encoder, ensemble, batches, a discrete gripper."""
