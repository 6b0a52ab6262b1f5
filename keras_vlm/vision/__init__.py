"""Pictures: reading them in the graph, augmenting them, and the backbones that look at them.

The backbone's contract: images [B,H,W,3], 0..255 -> image_features [B,N,C] float. It scales its own
input; frozen means inference mode, batch normalisation too. Refuses to know words and tasks.
"""
