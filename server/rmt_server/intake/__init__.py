"""The intake room: the door for text, from the bytes of a body to the store."""
