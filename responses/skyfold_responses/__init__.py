"""Linear operators: from a sky to expected counts. They know no instrument."""
