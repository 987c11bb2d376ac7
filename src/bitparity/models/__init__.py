"""Model files: where a checkpoint lies, what it holds, and at which precision its weights are stored."""
