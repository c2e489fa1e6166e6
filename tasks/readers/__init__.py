"""What readers of every task share: recognised data and the choice of their splits, names of files and splits, rows of text
files and problems found in them, data that `datasets` opens here and on the Hub.
"""
