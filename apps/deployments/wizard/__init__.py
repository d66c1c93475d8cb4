"""The deploy wizard: General, Optimization, Parameters, Hardware, Review; it deploys a model, and deploys it again."""
