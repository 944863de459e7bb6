"""Small programs to try geartrain with."""
