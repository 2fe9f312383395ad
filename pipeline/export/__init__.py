"""`echat export`: the dialogues of a finished set in the formats of other trainers and toolkits."""
