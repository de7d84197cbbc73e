"""The tests of the telehash matrix, by the telehash of this folder."""
