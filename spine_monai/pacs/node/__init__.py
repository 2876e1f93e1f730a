"""The node: what comes is kept, localized and sent on, whatever dies on the way."""
