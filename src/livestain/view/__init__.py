"""The live window: what is shown and how it is composed without Qt, and thin Qt widgets around that."""
