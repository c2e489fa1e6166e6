"""What readers of every task share: names of files and splits, problems found in rows, data sets on the Hub."""
