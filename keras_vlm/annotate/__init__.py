"""Writing captions, questions and boxes for a folder of pictures, by hand, in the browser.

Every edit is on disk before the next one: what was typed outlives browser and process.
"""
