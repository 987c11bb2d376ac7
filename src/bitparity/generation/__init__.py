"""Generation of answers: what is left to ask, the engines that answer, and the record of every answer."""
