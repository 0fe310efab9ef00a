"""ConRFT: a consistency policy, pre-trained offline with Cal-QL and improved online."""
