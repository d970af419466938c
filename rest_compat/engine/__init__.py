"""The engine: all the REST code there is. Systems bring documents and a few facts about their dialect."""
