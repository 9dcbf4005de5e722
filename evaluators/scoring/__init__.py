"""What a network costs: the score, the strict score, and the counting of multiply-adds beneath them."""
