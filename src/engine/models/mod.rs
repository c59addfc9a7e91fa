mod credit;
