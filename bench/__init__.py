"""Figures that anybody can repeat: `make bench`. Each row brings its floor or rival in the same run."""
