"""The layers of the model and `decoder.Decoder`, the only forward pass."""
