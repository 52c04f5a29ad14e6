"""What a learner sees: tables, figures, lesson cards and scoreboards."""
