"""Questions with known answers, graders, and the runs that are graded."""
