"""Floor 6: what is done with whole videos: summaries, storyboards, moments found by a sentence."""
