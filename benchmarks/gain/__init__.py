"""Does the gain of a degradation prior last, and does it hold where nobody trained?"""
