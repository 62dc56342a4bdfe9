"""The OpenAI room: chats, as OpenAI's clients send them, and the bodies and errors that these know."""
