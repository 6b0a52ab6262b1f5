"""Floor 6: what is done with whole videos: summaries, storyboards, and moments found by a sentence."""
