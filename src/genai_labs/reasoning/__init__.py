"""The companion notebook: rewards that can be checked, tools, look-ups, smaller models."""
