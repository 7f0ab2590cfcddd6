"""An executor plugin in a package."""
