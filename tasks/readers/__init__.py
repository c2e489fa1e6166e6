"""What readers of every task share: recognised data and the choice of their splits, names of files and splits, problems found in rows,
data sets on the Hub.
"""
