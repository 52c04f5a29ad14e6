"""What a learner types or brings: options, arguments, settings, files and texts, checked before they are used."""
