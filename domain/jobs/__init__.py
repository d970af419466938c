"""Jobs: work that is done later, by deployed code or an agent, in the name of somebody."""
