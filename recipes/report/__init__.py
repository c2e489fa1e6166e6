"""What a run shows of itself: a self-contained report.html and the model card.

A recipe hands over plain data (`recipes.report.content`); `recipes.report.html.write_report` and
`recipes.report.card.write_card` lay it out. Neither knows what the recipe is about.
"""
